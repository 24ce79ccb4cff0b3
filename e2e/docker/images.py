#!/usr/bin/env python3
"""Builds the images of a Dockerfile without an engine: each stage is a directory, each step is carried out in it.

What is real: the parser, the build context under its .dockerignore, every COPY with its modes and owners, every RUN with
its own words, in a clean directory and with the stage's environment. What takes something else's place:

- A base image. Commands run on this machine, whose Rust, Python and shell stand for the base's; `envoy` begins with the
  C library, the certificates and the Envoy binary that this machine has, which is all that a distroless base holds.
- Absolute paths of a RUN that the Dockerfile itself makes (/tools, /src, /out): the stage's directory is put before them.
- Engines keep layers; here a stage that needs neither another one nor the sources is kept below --target.
- `cargo zigbuild`, unless --compile is given: `cargo check` reads the same sources in the same context under the same lock
  file, and the files that it would have made come from --built. A fat build takes minutes.

Writes DIR/STAGE (the root) and DIR/STAGE.json (what the engine would run: env, user, command).
"""

import argparse
import fnmatch
import hashlib
import itertools
import json
import os
import pathlib
import re
import shlex
import shutil
import string
import subprocess
import sys

from dockerfile_parse import DockerfileParser

# What a base image has; every other absolute path is the Dockerfile's own.
OF_THE_BASE = {"bin", "dev", "etc", "home", "lib", "lib64", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var"}


class Stage:
    """One FROM and what follows it."""

    def __init__(self, root):
        self.root, self.env, self.workdir, self.config = root, {}, "/", {}
        self.done = root.with_name(root.name + ".done")
        self.kept = self.done.exists()
        if not self.kept:
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir(parents=True)

    def kept_elsewhere(self, out):
        return out not in self.root.parents

    def place(self, path):
        return self.root / os.path.join(self.workdir, path).lstrip("/")


class Builder:
    """Carries out a Dockerfile, step by step."""

    def __init__(self, arguments):
        self.arguments, self.stages, self.stage, self.defaults = arguments, {}, None, {}
        dockerfile = arguments.context / arguments.file
        self.ignored = patterns(dockerfile.with_name(dockerfile.name + ".dockerignore"))
        steps = DockerfileParser(path=str(dockerfile), env_replace=False).structure
        self.steps = [step for step in steps if step["instruction"] != "COMMENT"]

    def build(self):
        for number, step in enumerate(self.steps):
            print(f"==> {step['instruction']} {step['value']}", flush=True)
            if step["instruction"] == "FROM":
                self.finish()
                self.begin(step["value"], self.steps[number + 1 :])
            elif self.stage is None:
                self.do_arg(step["value"])
            elif not self.stage.kept:
                getattr(self, "do_" + step["instruction"].lower())(step["value"])
        self.finish()
        for name, stage in self.stages.items():
            config = {"env": stage.env, **stage.config}
            (self.arguments.out / f"{name}.json").write_text(json.dumps(config))

    def do_arg(self, value):
        name, _, default = value.partition("=")
        self.defaults[name] = default

    def begin(self, value, following):
        image, _, name = re.match(r"(\S+)(\s+AS\s+(\S+))?$", value, re.I).groups()
        steps = list(itertools.takewhile(lambda step: step["instruction"] != "FROM", following))
        root = self.arguments.out / name
        if key := self.key(image, steps):
            root = self.arguments.target / "images" / key
        self.stage = self.stages[name] = Stage(root)
        if string.Template(image).substitute(self.defaults).startswith("envoyproxy/envoy:"):
            distroless(self.stage.root, self.arguments.envoy)

    def finish(self):
        if self.stage and not self.stage.kept:
            self.stage.done.touch()

    def key(self, image, steps):
        """Names a stage by all that goes into it, unless that is another stage or all of the sources."""
        known = hashlib.sha256(f"{self.defaults}{image}".encode())
        for step in steps:
            known.update(f"{step['instruction']} {step['value']}\n".encode())
            if step["instruction"] == "COPY":
                flags, (*sources, _) = split_flags(step["value"])
                if "from" in flags or "." in sources:
                    return None
                for source in sources:
                    known.update((self.arguments.context / source).read_bytes())
        return known.hexdigest()[:16] if any(step["instruction"] == "RUN" for step in steps) else None

    def do_env(self, value):
        for pair in shlex.split(value):
            name, _, content = pair.partition("=")
            known = {"PATH": os.environ["PATH"], **self.stage.env}
            self.stage.env[name] = string.Template(self.moved(content)).substitute(known)

    def do_workdir(self, value):
        self.stage.workdir = value
        self.stage.place("").mkdir(parents=True, exist_ok=True)

    def do_user(self, value):
        self.stage.config["user"] = value

    def do_entrypoint(self, value):
        self.stage.config["entrypoint"] = json.loads(value)

    def do_cmd(self, value):
        self.stage.config["command"] = json.loads(value)

    def do_copy(self, value):
        flags, words = split_flags(value)
        *sources, to = words
        source_stage = self.stages.get(flags.get("from"))
        place = self.stage.place(to)
        for source in sources:
            if source_stage:
                entries = [(source_stage.root / source.lstrip("/"), lambda _: True)]
            else:
                entries = [(self.arguments.context / source, self.wanted)]
            for path, wanted in entries:
                if source_stage and source_stage.kept_elsewhere(self.arguments.out) and not place.exists():
                    # Nothing writes to it, and it has tens of thousands of files.
                    place.symlink_to(path)
                    continue
                into = place / path.name if to.endswith("/") and path.is_file() else place
                self.copy_entry(path, into, flags, wanted)

    def copy_entry(self, path, into, flags, wanted):
        if path.is_dir():
            into.mkdir(parents=True, exist_ok=True)
            for child in sorted(path.iterdir()):
                if wanted(child):
                    self.copy_entry(child, into / child.name, flags, wanted)
                    if child.is_dir() and flags.get("chown"):
                        own(into / child.name, child, flags)
            return
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, into, follow_symlinks=False)
        own(into, path, flags)

    def wanted(self, path):
        relative = path.relative_to(self.arguments.context)
        if path.is_dir() and any(str(keep).startswith(f"{relative}/") for _, keep in self.ignored):
            return True
        kept = True
        for keep, pattern in self.ignored:
            if any(matches(part, pattern) for part in [relative, *relative.parents]):
                kept = keep
        return kept

    def do_run(self, value):
        flags, words = split_flags(value, keep=True)
        if unknown := set(flags) - {"mount"}:
            sys.exit(f"RUN with {unknown} is not known here")
        if words.startswith("cargo zigbuild ") and not self.arguments.compile:
            return self.check_instead(words)
        self.shell(self.moved(words))

    def check_instead(self, words):
        package = re.search(r"--locked .*--package (\S+)", words).group(1)
        target = re.search(r"--target (x86_64-[a-z-]+)\.2\.\d+", words).group(1)
        print(f"    instead: cargo check --locked --package {package}, and the files of {self.arguments.built}")
        self.shell(f"cargo check --quiet --locked --package {package}")
        made = self.stage.place(f"target/{target}/release")
        made.mkdir(parents=True)
        for name in ("libspectral_bridge.so", "spectral-bridge"):
            shutil.copy2(self.arguments.built / name, made)

    def shell(self, words):
        environment = {**os.environ, **self.stage.env}
        if words.startswith("cargo "):
            # What is compiled already need not be compiled again; the sources are those of the context.
            environment["CARGO_TARGET_DIR"] = str(self.arguments.target)
        subprocess.run(["/bin/sh", "-c", words], cwd=self.stage.place(""), env=environment, check=True)
        made = self.stage.place("target")
        if words.startswith("cargo zigbuild "):
            made.symlink_to(self.arguments.target)

    def moved(self, words):
        """Puts the stage's directory before the absolute paths that are the Dockerfile's own."""

        def move(match):
            return match[0] if match[1] in OF_THE_BASE else f"{self.stage.root}{match[0]}"

        return re.sub(r"(?<![\w.$}/-])/(\w[\w.-]*)", move, words)


def split_flags(value, keep=False):
    flags = {}
    while match := re.match(r"--(\w+)=(\S+)\s+", value):
        flags[match[1]] = match[2]
        value = value[match.end() :]
    return flags, value if keep else shlex.split(value)


def patterns(path):
    lines = [line.strip() for line in path.read_text().splitlines()]
    return [(line.startswith("!"), line.lstrip("!")) for line in lines if line and not line.startswith("#")]


def matches(path, pattern):
    if pattern.startswith("**/"):
        return fnmatch.fnmatch(path.name, pattern[3:])
    return fnmatch.fnmatch(str(path), pattern) and str(path).count("/") == pattern.count("/") and str(path) != "."


def own(path, source, flags):
    if "chmod" in flags:
        path.chmod(int(flags["chmod"], 8))
    elif path.is_dir():
        path.chmod(source.stat().st_mode & 0o7777)
    if "chown" in flags and os.geteuid() == 0:
        os.chown(path, *map(int, flags["chown"].split(":")), follow_symlinks=False)


def distroless(root, envoy):
    """What gcr.io's base-nossl has of what matters here: the C library, certificates, a user 65532; and Envoy."""
    needed = subprocess.run(["ldd", envoy], check=True, capture_output=True, text=True).stdout
    for library in re.findall(r"(/\S+) \(0x", needed):
        into = root / library.lstrip("/")
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, into)
    for directory in ("etc/envoy", "etc/ssl/certs", "proc", "dev", "run", "tmp", "usr/local/lib"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    roots = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
    if roots.exists():
        shutil.copy(roots, root / "etc/ssl/certs")
    (root / "etc/passwd").write_text("nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")
    (root / "usr/local/bin").mkdir(parents=True)
    shutil.copy(envoy, root / "usr/local/bin/envoy")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("out", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--context", type=lambda p: pathlib.Path(p).resolve(), required=True)
    parser.add_argument("--file", default="envoy/docker/Dockerfile")
    parser.add_argument("--envoy", required=True, help="Envoy's binary, for the stage whose base is an image of Envoy")
    parser.add_argument("--built", type=pathlib.Path, help="where libspectral_bridge.so and spectral-bridge are")
    parser.add_argument("--target", type=pathlib.Path, required=True, help="cargo's target directory")
    parser.add_argument("--compile", action="store_true", help="run cargo zigbuild as it is written")
    Builder(parser.parse_args()).build()


if __name__ == "__main__":
    main()

//! A container as a kubelet makes it, in a directory: the files of its image, its volumes at their mounts.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use e2e::world::site::KEY;
use e2e::world::{Scratch, command, envoy_binary, launcher, library_dir};
use serde_json::Value;
use tokio::process::Command;

use crate::rendered::items;

/// One container of a Pod. What it calls `/…` is below a directory of the test's.
pub struct Container {
    pub spec: Value,
    /// Where the collector of the manifests is.
    pub collector: Option<String>,
    root: PathBuf,
    /// Directories that are there: mounts, and those of the image.
    directories: Vec<String>,
}

impl Container {
    /// The container `name` of `pod`, with ConfigMaps from `objects` and one key in every Secret.
    pub fn make(scratch: &Scratch, pod: &Value, name: &str, objects: &[Value]) -> Self {
        let all = || items(&pod["initContainers"]).iter().chain(items(&pod["containers"]));
        let spec = all().find(|container| container["name"] == name).unwrap();
        let root = scratch.path().join("root");
        let mut directories = Vec::new();
        let image = files_of(spec["image"].as_str().unwrap());
        assert!(
            !image.is_empty(),
            "{}: an image that the test does not know",
            spec["image"]
        );
        for (inside, outside) in image {
            link(&outside, &below(&root, inside));
            directories.push(Path::new(inside).parent().unwrap().display().to_string());
        }
        for mount in items(&spec["volumeMounts"]) {
            let is_it = |volume: &&Value| volume["name"] == mount["name"];
            let volume = items(&pod["volumes"]).iter().find(is_it);
            let volume = volume.unwrap_or_else(|| panic!("the Pod has no volume {}", mount["name"]));
            let directory = scratch.path().join("volumes").join(volume["name"].as_str().unwrap());
            fs::create_dir_all(&directory).unwrap();
            fill(&directory, volume, objects);
            for earlier in all().take_while(|container| container["name"] != name) {
                run_to_its_end(earlier, &volume["name"], &directory);
            }
            let place = mount["mountPath"].as_str().unwrap();
            link(&directory, &below(&root, place));
            directories.push(place.to_owned());
        }
        Self {
            spec: spec.clone(),
            collector: None,
            root,
            directories,
        }
    }

    /// Where the path `inside` is on this host; texts that are no path of the container's stay as they are.
    pub fn outside(&self, inside: &str) -> String {
        let (scheme, path) = match inside.strip_prefix("unix://") {
            Some(path) => ("unix://", path),
            None => ("", inside),
        };
        let is_there = |directory: &String| path == directory || path.starts_with(&format!("{directory}/"));
        match self.directories.iter().any(is_there) {
            true => format!("{scheme}{}", below(&self.root, path).display()),
            false => inside.to_owned(),
        }
    }

    /// A command of the container's, as Kubernetes has it: words, the first of which is a file of the container's.
    pub fn command(&self, words: &[Value]) -> Command {
        let words: Vec<String> = words.iter().map(|word| self.outside(word.as_str().unwrap())).collect();
        assert!(Path::new(&words[0]).exists(), "the container has no {}", words[0]);
        let mut command = command(&words[0]);
        command.args(&words[1..]).envs(self.variables());
        command
    }

    /// Its environment.
    pub fn variables(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let value = |name: &str, value: &Value| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => self.collector.clone(),
            _ => Some(self.outside(&text(value))),
        };
        let all = items(&self.spec["env"]).iter();
        all.filter_map(|variable| {
            let name = text(&variable["name"]);
            value(&name, &variable["value"]).map(|value| (name, value))
        })
        .collect()
    }
}

/// What each image must have for the manifests to work. Envoy's own is only asked for Envoy.
fn files_of(reference: &str) -> Vec<(&'static str, PathBuf)> {
    let envoy = ("/usr/local/bin/envoy", envoy_binary().unwrap());
    let module = library_dir().unwrap().join("libspectral_bridge.so");
    let launcher = launcher().unwrap();
    let name = reference.rsplit('/').next().unwrap();
    match name.split(':').next().unwrap() {
        "spectral-bridge-envoy" => vec![
            envoy,
            ("/usr/local/bin/spectral-bridge", launcher),
            ("/usr/local/lib/libspectral_bridge.so", module),
        ],
        "spectral-bridge-module" => vec![("/libspectral_bridge.so", module)],
        "spectral-bridge-copy" => vec![
            ("/payload/libspectral_bridge.so", module),
            ("/payload/spectral-bridge", launcher),
        ],
        // `auto` is what Istio's injector replaces by its proxy's image.
        "envoy" | "auto" => vec![envoy],
        _ => vec![],
    }
}

/// What a volume holds when the container starts.
fn fill(directory: &Path, volume: &Value, objects: &[Value]) {
    if let Some(reference) = volume["image"]["reference"].as_str() {
        for (inside, outside) in files_of(reference) {
            link(&outside, &below(directory, inside));
        }
    } else if volume["secret"].is_object() {
        fs::write(directory.join("api-key"), format!("{KEY}\n")).unwrap();
    } else if let Some(name) = volume["configMap"]["name"].as_str() {
        let is_it = |object: &&Value| object["kind"] == "ConfigMap" && object["metadata"]["name"] == name;
        let found = objects
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("no ConfigMap {name}"));
        for (key, text) in found["data"].as_object().unwrap() {
            fs::write(directory.join(key), text.as_str().unwrap()).unwrap();
        }
    } else {
        assert!(volume["emptyDir"].is_object(), "{volume}");
    }
}

/// The one init container that ends: its image copies what is in its /payload to /modules.
fn run_to_its_end(container: &Value, volume: &Value, directory: &Path) {
    let mounts_it = |mount: &&Value| mount["name"] == *volume && mount["mountPath"] == "/modules";
    if container["restartPolicy"].is_null() && items(&container["volumeMounts"]).iter().any(|mount| mounts_it(&mount)) {
        assert!(container["command"].is_null(), "the image's own entry point copies");
        for (inside, outside) in files_of(container["image"].as_str().unwrap()) {
            link(&outside, &below(directory, inside.trim_start_matches("/payload")));
        }
    }
}

fn below(root: &Path, inside: &str) -> PathBuf {
    root.join(inside.trim_start_matches('/'))
}

fn link(original: &Path, place: &Path) {
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    symlink(original, place).unwrap();
}

//! Promises of `envoy/kubernetes`, `envoy/envoy-gateway` and `envoy/istio`: kustomize renders them, the platforms' schemas have
//! every field, the real Envoy accepts what they carry, and with it a request crosses, the probes tell the truth and the
//! hooks drain.
//!
//! Deliberately absent: a cluster. What a kubelet does with a Pod is done in small by `pod`, what the two control planes do
//! with their resources by `configurations`, after the sources that their READMEs name.

mod configurations;
mod mistakes;
mod objects;
mod pod;
mod rendered;
mod running;
mod schemas;

/// What can be applied, with the versions of Kubernetes it is for: the oldest and the newest.
const OVERLAYS: [(&str, [&str; 2]); 9] = [
    ("kubernetes/overlays/sidecar", ["1.30", "1.37"]),
    ("kubernetes/overlays/image-volume", ["1.35", "1.37"]),
    ("kubernetes/overlays/init-copy", ["1.30", "1.37"]),
    ("kubernetes/overlays/standalone", ["1.30", "1.37"]),
    ("kubernetes/overlays/one-key-each", ["1.30", "1.37"]),
    ("istio/overlays/bootstrap", ["1.35", "1.37"]),
    ("istio/overlays/filter", ["1.35", "1.37"]),
    ("envoy-gateway/bootstrap", ["1.32", "1.36"]),
    ("envoy-gateway/filter", ["1.32", "1.36"]),
];

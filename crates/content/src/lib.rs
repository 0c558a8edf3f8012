//! Content-addressed resources: manifests, who has which part, what to ask whom next.

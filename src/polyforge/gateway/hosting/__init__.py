"""The models of the host on the management API: what there is, how it does, loading and unloading."""

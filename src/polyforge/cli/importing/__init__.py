"""Settings of other gateways, turned into ours: pure functions from what their files say."""

"""The path of a request: admission, routing, dispatch, settlement."""

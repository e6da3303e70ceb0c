"""The model host beside other model servers and a bare loop."""

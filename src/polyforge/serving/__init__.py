"""The model host: models that answer on this machine, behind the Open Inference Protocol."""

"""What happens in the installation, as those who may know of it follow it."""

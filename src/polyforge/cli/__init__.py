"""The command `polyforge`: thin, and each of its commands is loaded only when it is the one."""

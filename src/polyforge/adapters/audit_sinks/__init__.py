"""Where audit events are sent to."""

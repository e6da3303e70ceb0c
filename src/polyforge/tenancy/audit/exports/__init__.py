"""The stream of audit events to SIEMs: at least once, in order, for as long as it takes."""

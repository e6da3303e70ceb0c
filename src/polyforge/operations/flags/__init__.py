"""Feature flags: switched while the platform runs, for some projects or a share of the subjects, with a way back."""

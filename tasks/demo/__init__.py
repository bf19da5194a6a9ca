"""The demonstration: everything real, started from nothing, ended without a trace."""

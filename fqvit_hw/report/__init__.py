"""One page of what was measured: `fqvit-hw report`."""

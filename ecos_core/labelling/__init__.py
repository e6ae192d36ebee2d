"""Hand-off of a selection to labellers, and labels back in."""

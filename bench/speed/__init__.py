"""Speed: what an interaction costs, beside the same thing built in other ways."""

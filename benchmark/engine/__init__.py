"""The one training loop, the one attack loop, and the numbers that they compute in."""

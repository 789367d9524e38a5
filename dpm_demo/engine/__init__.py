"""All trajectories of all requests, one batched network call a tick."""

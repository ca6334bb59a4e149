"""The load engine: `plan` and `wire` are pure, `worker` drives them in a process of its own."""

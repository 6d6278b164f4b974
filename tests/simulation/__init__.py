"""The real cache under simulated time, threads, network and chance: one seed is one story, the same each time."""

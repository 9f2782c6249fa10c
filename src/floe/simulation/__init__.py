"""The whole cloud in one thread and in no time: seeded requests, seeded faults, and what must hold whatever happens."""

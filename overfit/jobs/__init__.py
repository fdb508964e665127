"""Many jobs: what each is, where results lie, and who works on them."""

"""Ways to reach people and programs: each takes deliveries of its own kind of receiver and sends them."""

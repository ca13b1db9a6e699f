"""What `make demo` starts and fills: process supervision, an embedded broker, users, flights, suites, requests."""

"""What pages show, as plain values: templates decide nothing and ask the database nothing."""

"""Base, Current and Proposed: aligned, compared, resolved and planned."""

"""Side-by-side timings: what the course claims about speed, measured."""

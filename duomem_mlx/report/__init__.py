"""A report of an evaluation for people: Markdown, and one HTML file in which every game can be looked at."""

"""Whether a process lives, read from a file that it touches; imports nothing, so the check takes milliseconds."""

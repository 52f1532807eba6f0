"""What clocks, calendars and policies mean. Pure; the words are those of docs/sla.md."""

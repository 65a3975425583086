"""What a device does all day: takes a window, answers, explains the answer as time allows, and tells the host."""

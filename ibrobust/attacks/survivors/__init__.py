"""A population search for what gradient attacks leave: its pools, their children, its first points and its polish."""

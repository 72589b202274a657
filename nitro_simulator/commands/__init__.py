"""The commands of kmstool-sim, a module each: their libraries load when a command runs, not for its help (internal)."""

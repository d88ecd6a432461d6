package engine

// BeginDrain is what Shutdown begins with, for tests in a World.
var BeginDrain = (*Server).beginDrain

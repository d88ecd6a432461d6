// Package race says to tests whether they run with the race detector, which makes most
// code about ten times slower and has a heap of its own making.
package race

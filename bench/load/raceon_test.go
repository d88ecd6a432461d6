//go:build linux && race

package load

const raceEnabled = true // the detector allocates

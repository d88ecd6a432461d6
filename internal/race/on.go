//go:build race

package race

const (
	Enabled = true

	// Less divides what a test has many of, or is a step through what it tries one by one,
	// where fewer show the same races. Without the detector each test is whole.
	Less = 10
)

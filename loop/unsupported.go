//go:build !linux && !darwin && !freebsd

package loop

// The next line does not compile, and its name says why.
var _ = turbine_needs_linux_darwin_or_freebsd

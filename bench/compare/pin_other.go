//go:build !linux

package compare

import "errors"

func pinProcess(int) error { return errors.New("only on Linux") }

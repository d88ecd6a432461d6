package usage

import (
	"errors"
	"fmt"
	"os"

	"github.com/prometheus/procfs"
)

// OfGroup reads what the processes of the group have used together. Those that
// have ended are not in it.
func OfGroup(group int) (total Usage, err error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return Usage{}, fmt.Errorf("usage of process group %d: %w", group, err)
	}
	found := false
	for _, p := range all {
		stat, err := p.Stat()
		if err != nil || stat.PGRP != group {
			continue // it may have ended meanwhile
		}
		u, err := Of(p.PID)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return Usage{}, err
		}
		found = true
		total.CPU += u.CPU
		total.RSS += u.RSS
	}
	if !found {
		return Usage{}, fmt.Errorf("usage of process group %d: %w", group, os.ErrNotExist)
	}
	return total, nil
}

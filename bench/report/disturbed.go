package report

import (
	"fmt"
	"slices"
	"strings"
)

// What shows that others used the machine. docs/numbers.md explains it to readers.
const (
	fullCore   = 0.80 // cores: in a closed loop, server or load generator reaches it
	mostSteal  = 0.05 // of the time of the CPUs, taken by other virtual machines
	mostOthers = 0.10 // of the time of the CPUs, used by other processes
	mostSpread = 2.0  // between the rounds, largest to least
	mostCells  = 0.25 // of all cells, until the whole report is disturbed
)

// doNotCompare is what a disturbed row says in the place of a verdict.
const doNotCompare = "disturbed, do not compare"

// saturates reports whether server or load generator is always busy: the loop is
// closed, has many in flight, and no part of the protocol waits. Upgrades wait for the
// clock in some servers; TLS handshakes are made one at a time; on two cores the server
// may have to share them with the load generator.
func (s Scenario) saturates() bool {
	if s.Figure != PerCPU || s.ID == "upgrade" {
		return false
	}
	return !slices.Contains([]string{"tls-handshake", "tls-resume", "cores-2"}, s.ID)
}

// disturbances are what others did to one round.
func (s Sample) disturbances(saturates bool) (causes []string) {
	seconds := s.Elapsed.Seconds()
	if saturates && s.ServerCPU.Seconds() < fullCore*seconds && s.ClientCPU.Seconds() < fullCore*seconds {
		causes = append(causes, "server and client idle")
	}
	if s.Steal > mostSteal {
		causes = append(causes, "steal")
	}
	if s.Others > mostOthers {
		causes = append(causes, "other processes")
	}
	return causes
}

// disturbed tells what makes the cell's figures meaningless; nil if nothing does. A
// minority of disturbed rounds does not move a median.
func (c *Cell) disturbed() (causes []string) {
	scenario, known := ScenarioOf(c.Scenario)
	if !known || len(c.Samples) == 0 {
		return nil
	}
	rounds := 0
	for _, s := range c.Samples {
		found := s.disturbances(scenario.saturates())
		if len(found) > 0 {
			rounds++
		}
		causes = append(causes, found...)
	}
	if 2*rounds < len(c.Samples) {
		causes = nil
	}
	figure := scenario.Figure
	if figure == Tail { // a few rare messages decide it: its spread is no sign
		figure = Median
	}
	if v := c.Values(figure); v[0] > 0 && v[len(v)-1] > mostSpread*v[0] {
		causes = append(causes, "spread")
	}
	slices.Sort(causes)
	return slices.Compact(causes)
}

// disturbedRow reports whether a cell of the scenario is disturbed.
func (r *Report) disturbedRow(scenario string) bool {
	return slices.ContainsFunc(r.Cells, func(c Cell) bool { return c.Scenario == scenario && c.disturbed() != nil })
}

// disturbance is what a reader has to know first: how much of the report is disturbed,
// and by what. The whole is so if the cells are more than a few.
func (r *Report) disturbance() (whole bool, text string) {
	cells, causes := 0, []string{}
	for _, c := range r.Cells {
		if found := c.disturbed(); found != nil {
			cells++
			causes = append(causes, found...)
		}
	}
	if cells == 0 {
		return false, ""
	}
	slices.Sort(causes)
	text = fmt.Sprintf("%d of %d measurements were disturbed (%s). ", cells, len(r.Cells), strings.Join(slices.Compact(causes), ", "))
	if whole = float64(cells) >= mostCells*float64(len(r.Cells)); whole {
		return true, text + "No row has a verdict, and no figure is to be compared: measure again on a quiet machine."
	}
	return false, text + "Their rows say so and have no verdict; § marks the figures. The other rows may be compared."
}

// heading is the report's first line.
func (r *Report) heading() string {
	const title = "Turbine and its peers"
	switch whole, text := r.disturbance(); {
	case whole:
		return title + ": " + doNotCompare
	case text != "":
		return title + ": some rows are " + doNotCompare + " these"
	}
	return title
}

package report

import (
	"fmt"
	"strings"
)

// secured is what TLS costs the peers that have it.
func (r *Report) secured() section {
	s := section{
		title: "TLS 1.3: handshakes, echo and idle sessions",
		text: []string{
			"Handshakes and echo: thousand a second of server CPU. A handshake is a connection, its TLS handshake with a P-256 certificate and X25519, the WebSocket handshake, and the end. " +
				"Resumed is the share of handshakes that took up an earlier TLS session. Echo has 100 sessions with one message in flight; ratios are to the same without TLS.",
			"The load generator uses crypto/tls and makes one handshake at a time, since a ticket of some servers is good for one handshake only. Server and client wait for each other therefore, and rates by the clock would say little: these count the server's CPU alone.",
		},
		table: [][]string{{"peer", "TLS by", "handshakes, full", "resumed", "share resumed, %", "echo 128 B", "of plain", "echo 16 KiB", "of plain", "bytes an idle session", "µs of CPU to open it"}},
	}
	measured, others := false, []string{}
	for _, p := range r.Peers {
		row := []string{p.Name, p.TLS}
		if p.TLS == "" {
			row[1] = "has none"
		}
		marks := ""
		for _, id := range []string{"tls-handshake", "tls-resume"} {
			row = append(row, r.shown(id, p.Name, PerCPU, &marks))
		}
		row = append(row, r.resumed(p.Name))
		for _, id := range []string{"echo-128", "echo-16k"} {
			row = append(row, r.shown("tls-"+id, p.Name, PerCPU, &marks), r.ratio("tls-"+id, id, p.Name))
		}
		row = append(row, r.shown("tls-idle", p.Name, Bytes, &marks), r.shown("tls-idle", p.Name, OpenTime, &marks))
		row[0] += marks
		there := r.Cell("tls-handshake", p.Name) != nil || r.Cell("tls-echo-128", p.Name) != nil || r.Cell("tls-idle", p.Name) != nil
		if there || p.TLS == "" {
			s.table = append(s.table, row)
		}
		if !there && p.TLS != "" {
			others = append(others, fmt.Sprintf("%s (%s)", p.Name, p.TLS))
		}
		measured = measured || there
	}
	if !measured {
		return section{title: s.title, table: s.table[:1]}
	}
	if len(others) > 0 {
		s.text = append(s.text, "Has TLS too, and was not measured here: "+strings.Join(others, ", ")+".")
	}
	return s
}

// shown is a figure's median, or a dash; its marks are added to those of a row.
func (r *Report) shown(scenario, peer string, f Figure, marks *string) string {
	c := r.Cell(scenario, peer)
	if c == nil {
		return "–"
	}
	*marks = union(*marks, c.marks())
	return f.show(c.Median(f))
}

// union has each mark once.
func union(a, b string) string {
	for _, mark := range b {
		if !strings.ContainsRune(a, mark) {
			a += string(mark)
		}
	}
	return a
}

// resumed is the share of handshakes that were resumed where they could be.
func (r *Report) resumed(peer string) string {
	c := r.Cell("tls-resume", peer)
	if c == nil {
		return "–"
	}
	resumed, all := 0, 0
	for _, s := range c.Samples {
		resumed, all = resumed+s.Resumed, all+s.Sessions
	}
	return fmt.Sprintf("%.0f", 100*float64(resumed)/float64(max(1, all)))
}

// ratio compares a peer's scenarios by operations a second of server CPU.
func (r *Report) ratio(scenario, to, peer string) string {
	a, b := r.Cell(scenario, peer), r.Cell(to, peer)
	if a == nil || b == nil || b.Median(PerCPU) == 0 {
		return "–"
	}
	return number(a.Median(PerCPU) / b.Median(PerCPU))
}

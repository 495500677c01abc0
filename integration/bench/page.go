package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// claim is something that the project says of itself, and what was found.
type claim struct {
	what  string
	got   string
	limit string
	ok    bool
}

func (c claim) verdict() string {
	if c.ok {
		return "ok"
	}
	return "MISSED"
}

// page collects what is found. Its parts appear in the order in which they
// were added, the claims before all of them.
type page struct {
	claims []claim
	body   strings.Builder
}

// claim records a claim and prints it.
func (p *page) claim(what, got, limit string, ok bool) {
	c := claim{what, got, limit, ok}
	p.claims = append(p.claims, c)
	fmt.Fprintf(os.Stderr, "%-7s %s: got %s, limit %s\n", c.verdict(), what, got, limit)
}

// text adds a paragraph or a heading.
func (p *page) text(format string, args ...any) {
	fmt.Fprintf(&p.body, format+"\n", args...)
}

// table adds a table; each row has as many cells as the head.
func (p *page) table(head []string, rows [][]string) {
	writeTable(&p.body, head, rows)
}

func writeTable(w io.Writer, head []string, rows [][]string) {
	fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
	for _, row := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
	fmt.Fprintln(w)
}

// write writes the page.
func (p *page) write(w io.Writer, cfg config) error {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\nWritten by `make bench` (`integration/bench`): do not edit.\n\n")
	fmt.Fprintf(&b, "Measured on %s with %d cores, %s of memory, Linux %s, %s, against versitygw 1.8 (POSIX backend) on loopback.\n",
		time.Now().Format("2006-01-02"), runtime.NumCPU(), memory(), kernel(), runtime.Version())
	b.WriteString("A proxy (`integration/s3proxy`) counts the requests and adds the latency, to every request, without limiting how many run at once.\n")
	if cfg.quick {
		fmt.Fprintf(&b, "\n**A quick run**: %d objects in place of %d and %d MiB in place of %d, so that the figures say little.\n",
			cfg.objects, full.objects, cfg.large>>20, full.large>>20)
	}
	b.WriteString("\n## Claims\n\n")
	var rows [][]string
	for _, c := range p.claims {
		rows = append(rows, []string{c.what, c.got, c.limit, c.verdict()})
	}
	writeTable(&b, []string{"claim", "got", "limit", ""}, rows)
	b.WriteString(p.body.String())
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

// kernel is the version of the running kernel, without its build.
func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "?"
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(b)), "-")
	return version
}

// memory is how much the machine has.
func memory() string {
	b, _ := os.ReadFile("/proc/meminfo")
	var kib int64
	if _, err := fmt.Sscanf(string(b), "MemTotal: %d kB", &kib); err != nil {
		return "?"
	}
	return fmt.Sprintf("%d GiB", (kib+1<<19)>>20)
}

// ms writes a duration in milliseconds.
func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

// secs writes a duration in seconds.
func secs(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// times writes a ratio.
func times(r float64) string { return fmt.Sprintf("%.2f ×", r) }

// mib writes bytes in MiB.
func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// digits writes a number with three significant digits and no exponent.
func digits(x float64) string {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 3, 64), 64)
	if err != nil {
		return "?"
	}
	return strconv.FormatFloat(rounded, 'f', -1, 64)
}

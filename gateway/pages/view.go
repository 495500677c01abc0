package pages

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/causewayfs/causeway/gateway/status"
	"github.com/causewayfs/causeway/vfs"
)

// partNames are the templates of which the status page consists, and the ids of
// the elements that they fill.
var partNames = []string{"part-state", "part-alerts", "part-figures", "part-locks", "part-files", "part-requests", "part-gateway"}

// view is a Report as the templates show it.
type view struct {
	status.Report
	Now     time.Time
	Uptime  string
	Listing bool // there are files to lead to

	Tone, Headline string // of the state: "good", "warn" or "bad"
	Alerts         []alert
	Figures        []figure
	Contended      []lockView
	Quiet          []lockView
	Kinds          []kindView
	Facts          []fact
	IndexFacts     []fact
}

// alert is something that needs attention.
type alert struct{ Tone, Title, Text string }

// figure is a number in large type.
type figure struct{ Name, Value, Unit, Note, Tone string }

// fact is a line of a list.
type fact struct{ Name, Value string }

// lockView is a lock with its times as ages.
type lockView struct {
	status.LockReport
	Where string // the path, or a word for the root
	Held  []party
	Queue []party
	More  int // of the queue, that are not listed
}

// party is who has a lock or waits for it.
type party struct {
	Who, Command, Age, Note string
	Place                   int
	Fence                   uint64
	Cached                  bool
}

// kindView is a kind of requests with the ends of the bar that shows its latency,
// in percent of the logarithmic scale that all share.
type kindView struct {
	status.Request
	From, Length string
}

// maxQueue is how many waiters of one lock are listed.
const maxQueue = 8

func newView(r status.Report, s Sample, listing bool) *view {
	v := &view{Report: r, Now: r.Started.Add(time.Duration(r.UptimeSecs * float64(time.Second))), Listing: listing}
	v.Uptime = humanDuration(time.Duration(r.UptimeSecs * float64(time.Second)))
	v.headline()
	v.alerts()
	v.figures(s)
	for _, l := range r.Locks {
		if lv := v.lock(l); l.Contended() {
			v.Contended = append(v.Contended, lv)
		} else {
			v.Quiet = append(v.Quiet, lv)
		}
	}
	v.kinds()
	v.facts()
	return v
}

func (v *view) headline() {
	switch {
	case v.State == status.Draining:
		v.Tone, v.Headline = "warn", "Finishing what was acknowledged"
	case v.S3.State == status.Away:
		v.Tone, v.Headline = "bad", "S3 does not answer"
	case v.Files.KeptVersions > 0 || len(v.Missing) > 0:
		v.Tone, v.Headline = "warn", "Serving, with something to look at"
	default:
		v.Tone, v.Headline = "good", "Serving"
	}
}

func (v *view) alerts() {
	add := func(tone, title, format string, args ...any) {
		v.Alerts = append(v.Alerts, alert{tone, title, fmt.Sprintf(format, args...)})
	}
	if v.S3.State == status.Away {
		add("bad", "S3 is away", "It has not answered for %s. %s for it; reads are answered from what is here.",
			humanAge(v.Now, v.S3.Since), waits(v.S3.Waiting))
	}
	if n := v.Files.KeptVersions; n > 0 {
		add("bad", plural(n, "version")+" could not be committed", "The bytes are kept on this host: causeway recover lists them.")
	}
	if len(v.Missing) > 0 {
		add("warn", "The endpoint lacks protection", "It does not enforce %s. No other writer may use the bucket.", joined(v.Missing))
	}
	if v.Files.LastError != "" {
		add("quiet", "Last error", "%s (%s UTC)", v.Files.LastError, clock(v.Files.LastErrorTime))
	}
}

func waits(n int64) string {
	if n == 1 {
		return "1 request waits"
	}
	return humanCount(n) + " requests wait"
}

func joined(words []string) string {
	text := ""
	for i, w := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			text += " and "
		default:
			text += ", "
		}
		text += w
	}
	return text
}

func (v *view) figures(s Sample) {
	f := v.Files
	requests := s.Reads + s.Writes + s.Lists + s.Deletes
	v.Figures = []figure{
		{Name: "Commits", Value: rate(s.Commits), Unit: "/s", Note: humanCount(f.Commits) + " since the start"},
		{Name: "Requests to S3", Value: rate(requests), Unit: "/s", Note: errorsNote(v.Requests)},
	}
	pending := f.DirtyFiles + f.StagedFiles + f.SpoolFiles
	note := "all is in S3"
	if pending > 0 {
		note = humanSize(f.StagedBytes + f.SpoolBytes)
	}
	v.Figures = append(v.Figures, figure{Name: "Not in S3 yet", Value: humanCount(pending), Unit: unit(pending, "file"), Note: note})
	failed := figure{Name: "Failed commits", Value: humanCount(f.CommitErrors), Note: "none kept"}
	if f.CommitErrors == 0 {
		failed.Note = "since the start"
	}
	if f.KeptVersions > 0 {
		failed.Note, failed.Tone = plural(f.KeptVersions, "version")+" kept", "bad"
	}
	v.Figures = append(v.Figures, failed)
}

func unit(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func rate(v float64) string {
	if v < 9.95 {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return humanCount(int64(math.Round(v)))
}

func errorsNote(all []status.Request) string {
	n := int64(0)
	for _, q := range all {
		n += q.Errors
	}
	if n == 0 {
		return "none has failed"
	}
	return humanCount(n) + " failed since the start"
}

func (v *view) lock(l status.LockReport) lockView {
	lv := lockView{LockReport: l, Where: cmp.Or(l.Path, "the whole bucket")}
	for _, h := range l.Holders {
		lv.Held = append(lv.Held, party{Who: who(h.Host, h.PID), Command: h.Command, Age: humanAge(v.Now, h.Since), Note: h.Via, Fence: h.Fence, Cached: h.Cached})
	}
	for _, w := range l.Waiters[:min(len(l.Waiters), maxQueue)] {
		lv.Queue = append(lv.Queue, party{Who: who(w.Host, w.PID), Command: w.Command, Age: humanAge(v.Now, w.Since), Note: w.Mode, Place: w.Place})
	}
	lv.More = len(l.Waiters) - len(lv.Queue)
	return lv
}

func who(host string, pid int) string {
	if pid == 0 {
		return host
	}
	return host + " · pid " + strconv.Itoa(pid)
}

// kinds places the requests on a scale from 1 ms to the slowest p99.
func (v *view) kinds() {
	slowest := 100.0
	for _, q := range v.Requests {
		slowest = max(slowest, q.P99Ms)
	}
	at := func(ms float64) float64 { return 100 * math.Log10(max(ms, 1)) / math.Log10(slowest) }
	for _, q := range v.Requests {
		from := at(q.P50Ms)
		v.Kinds = append(v.Kinds, kindView{q, percent(min(from, 98)), percent(max(at(q.P99Ms)-from, 2))})
	}
	slices.SortStableFunc(v.Kinds, func(a, b kindView) int { return cmp.Compare(b.Count, a.Count) })
}

func percent(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

func (v *view) facts() {
	f := v.Files
	v.Facts = []fact{
		{"Version", v.Version},
		{"Mounted on", cmp.Or(v.Mountpoint, "not mounted")},
		{"Endpoint", cmp.Or(v.Endpoint, "Amazon S3, "+v.Region)},
		{"Commits", map[string]string{"local": "when on this host's disk", "remote": "when in S3"}[v.Commit]},
		{"Memory", humanSize(v.Memory.Resident) + " of " + humanSize(v.Memory.Limit)},
		{"Cache", humanSize(f.CacheBytes) + " in " + plural(f.CacheFiles, "file")},
		{"Open", plural(f.OpenHandles, "handle")},
		{"Process", strconv.Itoa(v.PID)},
	}
	v.IndexFacts = []fact{{"Names held", humanCount(f.IndexEntries)}, {"Directories", humanCount(f.IndexDirs)}}
	if f.HiddenKeys > 0 {
		v.IndexFacts = append(v.IndexFacts, fact{"Keys not shown", humanCount(f.HiddenKeys)})
	}
}

// Pending says what of the files is on its way, beyond those that are listed.
func (v *view) Pending() string {
	text := ""
	for _, p := range []struct {
		n    int
		noun string
	}{{v.Files.Committing, "commit"}, {v.Files.PendingUnlink, "removal"}, {v.Files.PendingAttr, "attribute change"}} {
		if p.n > 0 {
			if text != "" {
				text += ", "
			}
			text += plural(p.n, p.noun)
		}
	}
	return text
}

// Unlisted is how many uncommitted files are not in the list.
func (v *view) Unlisted() int {
	return max(v.Files.DirtyFiles+v.Files.StagedFiles-len(v.Uncommitted), 0)
}

// Progress is what share of a tree operation is done, in percent.
func (v *view) Progress(t vfs.TreeProgress) string {
	if t.Total == 0 {
		return "0"
	}
	return percent(100 * float64(t.Done) / float64(t.Total))
}

package status

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causewayfs/causeway/vfs"
)

// collector turns a Report into Prometheus metrics each time it is scraped,
// except for the requests, which whoever counts them exports in more detail.
type collector struct{ source Source }

var _ prometheus.Collector = collector{}

// Names follow the Prometheus conventions: base units, _total for counters.
var infoDesc = prometheus.NewDesc("causeway_info", "What is served; always 1.", []string{"version", "bucket", "mountpoint"}, nil)

// plain are the metrics without labels of their own.
var plain = []plainMetric{
	gauge("causeway_uptime_seconds", "Time since the start.", func(r Report) float64 { return r.UptimeSecs }),
	gauge("causeway_draining", "1 while the gateway is on its way out.", func(r Report) float64 { return oneIf(r.State == Draining) }),
	gauge("causeway_resident_bytes", "Resident memory.", func(r Report) float64 { return float64(r.Memory.Resident) }),
	gauge("causeway_s3_away", "1 while S3 does not answer.", func(r Report) float64 { return oneIf(r.S3.State == Away) }),
	gauge("causeway_s3_waiting", "Requests that wait for S3 to come back.", func(r Report) float64 { return float64(r.S3.Waiting) }),
	counter("causeway_s3_outages_total", "Times that S3 went away.", func(r Report) float64 { return float64(r.S3.Outages) }),
	counter("causeway_s3_refused_total", "Requests that were not sent since S3 was away.", func(r Report) float64 { return float64(r.S3.Refused) }),
	counter("causeway_s3_retries_total", "Requests that were sent again.", func(r Report) float64 { return float64(r.S3.Retries) }),
	counter("causeway_s3_budget_waits_total", "Retries that waited for the budget.", func(r Report) float64 { return float64(r.S3.BudgetWaits) }),
	counter("causeway_recalled_total", "Answers from what is here since S3 was away.", func(r Report) float64 { return float64(r.Files.Recalled) }),
	gauge("causeway_goroutines", "Goroutines.", func(r Report) float64 { return float64(r.Goroutines) }),
	gauge("causeway_open_fds", "Open file descriptors of the process.", func(r Report) float64 { return float64(r.OpenFDs) }),
	gauge("causeway_nodes", "Files and directories known to the kernel, open or uncommitted.", func(r Report) float64 { return float64(r.Files.Nodes) }),
	gauge("causeway_open_handles", "Open files and directories.", func(r Report) float64 { return float64(r.Files.OpenHandles) }),
	gauge("causeway_staged_files", "Temporary names that wait to be renamed.", func(r Report) float64 { return float64(r.Files.StagedFiles) }),
	gauge("causeway_staged_bytes", "Bytes of files that are not committed.", func(r Report) float64 { return float64(r.Files.StagedBytes) }),
	gauge("causeway_dirty_files", "Files written and not committed.", func(r Report) float64 { return float64(r.Files.DirtyFiles) }),
	gauge("causeway_commits_in_flight", "Commits in flight.", func(r Report) float64 { return float64(r.Files.Committing) }),
	counter("causeway_commits_total", "Commits that succeeded.", func(r Report) float64 { return float64(r.Files.Commits) }),
	counter("causeway_commit_errors_total", "Commits that failed.", func(r Report) float64 { return float64(r.Files.CommitErrors) }),
	gauge("causeway_spool_files", "Files that were acknowledged with --commit local and are not in S3 yet.", func(r Report) float64 { return float64(r.Files.SpoolFiles) }),
	gauge("causeway_spool_bytes", "Bytes of these.", func(r Report) float64 { return float64(r.Files.SpoolBytes) }),
	gauge("causeway_spool_oldest_age_seconds", "Time since the oldest of these was acknowledged; 0 without any.", Report.spoolAge),
	gauge("causeway_journal_intents", "What was acknowledged and is in the journal until it is in S3.", func(r Report) float64 { return float64(r.Files.JournalIntents) }),
	gauge("causeway_journal_bytes", "Size of the journal on disk.", func(r Report) float64 { return float64(r.Files.JournalBytes) }),
	gauge("causeway_pending_removals", "Acknowledged removals that are not in S3 yet.", func(r Report) float64 { return float64(r.Files.PendingUnlink) }),
	gauge("causeway_pending_attributes", "Attribute changes that are not in S3 yet.", func(r Report) float64 { return float64(r.Files.PendingAttr) }),
	gauge("causeway_kept_versions", "Versions that could not be committed and wait for causeway recover.", func(r Report) float64 { return float64(r.Files.KeptVersions) }),
	gauge("causeway_cache_bytes", "File data in the cache on disk.", func(r Report) float64 { return float64(r.Files.CacheBytes) }),
	gauge("causeway_index_entries", "Names held in memory.", func(r Report) float64 { return float64(r.Files.IndexEntries) }),
	gauge("causeway_tree_operations", "Renames and removals of directories under way.", func(r Report) float64 { return float64(len(r.Files.Trees)) }),
	gauge("causeway_tree_objects_done", "Objects that these have copied or removed.", func(r Report) float64 { return sumTrees(r, func(t vfs.TreeProgress) int64 { return t.Done }) }),
	gauge("causeway_tree_objects_found", "Objects that these have found.", func(r Report) float64 { return sumTrees(r, func(t vfs.TreeProgress) int64 { return t.Total }) }),
	gauge("causeway_gateways", "Other gateways seen on this bucket.", func(r Report) float64 { return float64(r.Files.Gateways) }),
	gauge("causeway_locks", "Paths that are locked, as far as this gateway knows.", func(r Report) float64 { return float64(len(r.Locks)) }),
	gauge("causeway_lock_waiters", "Who waits for these.", Report.lockWaiters),
	gauge("causeway_hidden_keys", "Keys seen that cannot be shown as a path.", func(r Report) float64 { return float64(r.Files.HiddenKeys) }),
}

// plainMetric is one figure of a Report.
type plainMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(Report) float64
}

func gauge(name, help string, value func(Report) float64) plainMetric {
	return plainMetric{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, value}
}

func counter(name, help string, value func(Report) float64) plainMetric {
	return plainMetric{prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue, value}
}

func sumTrees(r Report, of func(vfs.TreeProgress) int64) float64 {
	sum := int64(0)
	for _, t := range r.Files.Trees {
		sum += of(t)
	}
	return float64(sum)
}

func (r Report) lockWaiters() float64 {
	n := 0
	for _, l := range r.Locks {
		n += len(l.Waiters)
	}
	return float64(n)
}

// spoolAge is how old the oldest file is that waits for S3, in seconds.
func (r Report) spoolAge() float64 {
	if r.Files.SpoolOldest.IsZero() {
		return 0
	}
	now := r.Started.Add(time.Duration(r.UptimeSecs * float64(time.Second)))
	return max(now.Sub(r.Files.SpoolOldest).Seconds(), 0)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	out <- infoDesc
	for _, m := range plain {
		out <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	r := c.source()
	out <- prometheus.MustNewConstMetric(infoDesc, prometheus.GaugeValue, 1, r.Version, r.Bucket, r.Mountpoint)
	for _, m := range plain {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(r))
	}
}

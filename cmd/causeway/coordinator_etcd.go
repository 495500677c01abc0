package main

import (
	"crypto/tls"
	"time"

	"github.com/causewayfs/causeway/locks/etcdlock"
)

// etcdUser and etcdPassword are the environment variables with the credentials
// for etcd, if it wants some.
const (
	etcdUser     = "CAUSEWAY_ETCD_USER"
	etcdPassword = "CAUSEWAY_ETCD_PASSWORD"
)

// openEtcd makes etcd the coordinator. Keys are below the name of the bucket, so
// that one cluster serves many.
func (g *gateway) openEtcd(c *coordination, hosts []string, ttl time.Duration) error {
	var tlsConfig *tls.Config
	if g.settings.etcdTLS {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	coord, err := etcdlock.New(hosts, etcdlock.Options{TTL: ttl, Log: g.log, TLS: tlsConfig,
		Prefix:   etcdlock.DefaultPrefix + g.target.Bucket + "/" + g.target.Prefix + "/",
		Username: g.getenv(etcdUser), Password: g.getenv(etcdPassword)})
	if err != nil {
		return &problem{what: "use the coordinator " + g.settings.coordinator.String(), err: err}
	}
	c.coord = coord
	return nil
}

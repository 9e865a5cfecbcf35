// Stands in for the embedded etcd of k8s.io/apiserver's storage tests: same package name, same two
// functions, but what they start is the program that STORE_COMMAND names (`trireme store`, or a real
// `etcd`), STORE_MEMBERS of them, with fresh data for each test. storage.py puts this file in place.
package testserver

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

const startLimit = 60 * time.Second

// NewTestConfig is a configuration with a directory and ports of its own; of what a test changes in
// it, RunEtcd passes on what arguments knows.
func NewTestConfig(t testing.TB) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Dir = t.TempDir()
	client, peer := freeURL(t), freeURL(t)
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	return cfg
}

// RunEtcd starts the store and returns a client for it; both end with the test.
func RunEtcd(t testing.TB, cfg *embed.Config) *kubernetes.Client {
	t.Helper()
	if cfg == nil {
		cfg = NewTestConfig(t)
	}
	members := []*embed.Config{cfg}
	for len(members) < count() {
		more := *cfg
		fresh := NewTestConfig(t)
		fresh.ListenClientUrls[0].Scheme = cfg.ListenClientUrls[0].Scheme
		more.Dir = fresh.Dir
		more.ListenClientUrls, more.AdvertiseClientUrls = fresh.ListenClientUrls, fresh.ListenClientUrls
		more.ListenPeerUrls, more.AdvertisePeerUrls = fresh.ListenPeerUrls, fresh.ListenPeerUrls
		members = append(members, &more)
	}
	var cluster, endpoints []string
	for i, member := range members {
		member.Name = fmt.Sprintf("m%d", i)
		cluster = append(cluster, member.Name+"="+member.ListenPeerUrls[0].String())
		endpoints = append(endpoints, member.ListenClientUrls[0].String())
	}
	var ready []<-chan error
	for _, member := range members {
		ready = append(ready, start(t, arguments(member, strings.Join(cluster, ","))))
	}
	limit := time.After(startLimit)
	for _, one := range ready {
		select {
		case err := <-one:
			if err != nil {
				t.Fatal(err)
			}
		case <-limit:
			t.Fatal("the store took too long to start")
		}
	}
	return connect(t, cfg, endpoints)
}

func count() int {
	n, err := strconv.Atoi(os.Getenv("STORE_MEMBERS"))
	if err != nil || n < 1 {
		return 1
	}
	return n
}

func freeURL(t testing.TB) url.URL {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return url.URL{Scheme: "http", Host: l.Addr().String()}
}

func arguments(cfg *embed.Config, cluster string) []string {
	args := []string{
		"--name=" + cfg.Name,
		"--data-dir=" + filepath.Join(cfg.Dir, "data"),
		"--listen-client-urls=" + cfg.ListenClientUrls[0].String(),
		"--advertise-client-urls=" + cfg.ListenClientUrls[0].String(),
		"--listen-peer-urls=" + cfg.ListenPeerUrls[0].String(),
		"--initial-advertise-peer-urls=" + cfg.ListenPeerUrls[0].String(),
		"--initial-cluster=" + cluster,
		"--quota-backend-bytes=" + strconv.FormatInt(cfg.QuotaBackendBytes, 10),
	}
	if interval := cfg.WatchProgressNotifyInterval; interval > 0 {
		args = append(args, "--watch-progress-notify-interval="+interval.String())
	}
	if tls := cfg.ClientTLSInfo; tls.CertFile != "" {
		args = append(args, "--cert-file="+tls.CertFile, "--key-file="+tls.KeyFile,
			"--trusted-ca-file="+tls.TrustedCAFile)
	}
	return args
}

// start runs one member; the channel says when it serves, or that it ended before it did.
func start(t testing.TB, args []string) <-chan error {
	command := strings.Fields(os.Getenv("STORE_COMMAND"))
	if len(command) == 0 {
		t.Fatal("STORE_COMMAND names no program")
	}
	cmd := exec.Command(command[0], append(command[1:], args...)...)
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended, ready := make(chan struct{}), make(chan error, 1)
	go func() {
		cmd.Wait()
		in.Close()
		close(ended)
	}()
	go func() {
		var last string
		var once sync.Once
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			last = lines.Text()
			if strings.Contains(last, "ready to serve client requests") {
				once.Do(func() { ready <- nil })
			}
		}
		io.Copy(io.Discard, out)
		once.Do(func() { ready <- fmt.Errorf("the store did not start: %s", last) })
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(startLimit):
			t.Errorf("the store did not end")
			cmd.Process.Kill()
			<-ended
		}
	})
	return ready
}

func connect(t testing.TB, cfg *embed.Config, endpoints []string) *kubernetes.Client {
	tls, err := cfg.ClientTLSInfo.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.New(clientv3.Config{
		TLS: tls, Endpoints: endpoints, DialTimeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	lists := storagetesting.NewKubernetesRecorder(client.Kubernetes)
	client.KV = storagetesting.NewKVRecorder(client.KV, lists)
	client.Kubernetes = lists
	return client
}

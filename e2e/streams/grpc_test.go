package streams

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
	"sallyport/plugin/filtertest"
)

// echo is a gRPC service: Say is unary, Talk is a stream in both directions.
type echo struct{ calls, messages atomic.Int64 }

// service returns the service under a name, which is a path of the policies.
func (e *echo) service(name string) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: name,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			e.calls.Add(1)
			m := new(wrapperspb.StringValue)
			return m, decode(m)
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "Talk", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			e.calls.Add(1)
			for {
				m := new(wrapperspb.StringValue)
				err := s.RecvMsg(m)
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				e.messages.Add(1)
				if err := s.SendMsg(m); err != nil {
					return err
				}
			}
		}}},
	}
}

// startGRPC starts a server and an Envoy before it, and returns a client of the
// latter.
func startGRPC(t *testing.T, f *filtertest.Fixture, e *echo) *grpc.ClientConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	for _, name := range []string{"workspaces/foo", "healthz"} {
		server.RegisterService(e.service(name), e)
	}
	go func() { _ = server.Serve(l) }() // ends with Stop
	t.Cleanup(server.Stop)
	b := envoytest.Static(t, hosttest.Module(t), portOf(t, l))
	b.AddCluster("grpc", portOf(t, l), true)
	c := f.Config(t, nil)
	b.Add("grpc", func(l *envoytest.Listener) {
		l.Configure(c.AppendJSON(nil))
		l.Route()["route"] = map[string]any{"cluster": "grpc", "timeout": "0s"}
	})
	client, err := grpc.NewClient(envoytest.Start(t, b.Text()).Address("grpc"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// A gRPC client sees what is refused as a status of gRPC, which Envoy makes of the
// filter's answer: 400 is Internal, 401 Unauthenticated, 403 PermissionDenied.
func TestGRPC(t *testing.T) {
	f, e := filtertest.NewFixture(t), &echo{}
	client := startGRPC(t, f, e)
	for _, c := range []struct {
		rule, service, token string
		code                 codes.Code
	}{
		{"member", "workspaces/foo", "{eric}", codes.OK},
		{"another's", "workspaces/foo", "{bob}", codes.PermissionDenied},
		{"no token", "workspaces/foo", "", codes.Unauthenticated},
		{"expired token", "workspaces/foo", "{expired}", codes.Unauthenticated},
		{"two readings", "healthz//workspaces/foo", "{eric}", codes.Internal},
	} {
		t.Run(c.rule, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if c.token != "" {
				h := f.Request("", "", [2]string{"authorization", "Bearer " + c.token})
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", h[len(h)-1][1])
			}
			e.calls.Store(0)
			wantStatus(t, c.code, say(ctx, client, c.service))
			wantStatus(t, c.code, talk(ctx, client, c.service))
			want := int64(0)
			if c.code == codes.OK {
				want = 2
			}
			if n := e.calls.Load(); n != want {
				t.Errorf("%d calls reached the server, want %d", n, want)
			}
		})
	}
}

// wantStatus wants a code, and a message that says no more than a status.
func wantStatus(t *testing.T, code codes.Code, err error) {
	t.Helper()
	s := status.Convert(err)
	if s.Code() != code {
		t.Errorf("got %v, want %v", err, code)
	}
	for _, secret := range []string{"zz-", "eric", "bob", "foo", "no_token", "expired", "bad_path"} {
		if strings.Contains(s.Message(), secret) {
			t.Errorf("the message says %q: %s", secret, s.Message())
		}
	}
	t.Logf("%v: %s", s.Code(), s.Message())
}

func say(ctx context.Context, client *grpc.ClientConn, service string) error {
	return client.Invoke(ctx, "/"+service+"/Say", wrapperspb.String("hello"), new(wrapperspb.StringValue))
}

// talk sends and receives messages in turn.
func talk(ctx context.Context, client *grpc.ClientConn, service string) error {
	s, err := client.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+service+"/Talk")
	if err != nil {
		return err
	}
	for range 3 {
		m := wrapperspb.String(time.Now().String())
		if err := s.SendMsg(m); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		got := new(wrapperspb.StringValue)
		if err := s.RecvMsg(got); err != nil {
			return err
		}
		if got.Value != m.Value {
			return errors.New("another message came back")
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if err := s.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

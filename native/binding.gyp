{
  "targets": [
    {
      "target_name": "godwit",
      "sources": [
        "src/addon.cc",
        "src/error.cc",
        "src/tracee.cc",
        "src/exit_collector.cc",
        "src/signal_frame.cc",
        "src/injection.cc",
        "src/stubs.S",
        "src/memory.cc",
        "src/mailbox.cc",
        "src/thread_pool.cc",
        "src/page_scan.cc",
        "src/pagemap_reader.cc",
        "src/pagemap.cc",
        "src/tracking_probe.cc",
        "src/userfault.cc",
        "src/page_set.cc",
        "src/sent_pages.cc",
        "src/page_history.cc",
        "src/soft_dirty_pages.cc",
        "src/page_frame.cc",
        "src/frame_cipher.cc",
        "src/channel_socket.cc",
        "src/rate_limit.cc",
        "src/page_gatherer.cc",
        "src/page_landing.cc",
        "src/page_sender.cc",
        "src/page_receiver.cc",
        "src/descriptors.cc",
        "src/descriptor_passing.cc",
        "src/peek_pipe.cc",
        "src/process.cc",
        "src/spawn.cc",
        "src/child_watch.cc",
        "src/scheduling.cc",
        "src/proc_files.cc",
        "src/host.cc",
        "src/vdso.cc"
      ],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_DISABLE_DEPRECATED", "_GNU_SOURCE"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-fno-rtti"],
      "cflags_cc": ["-std=gnu++20", "-fexceptions", "-Wall", "-Wextra", "-Wno-unused-parameter"]
    },
    {
      "target_name": "skeleton",
      "type": "executable",
      "sources": ["src/skeleton.c"],
      "cflags": ["-ffreestanding", "-fno-stack-protector", "-fno-pie", "-O2"],
      "ldflags": ["-static", "-nostdlib", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,noexecstack"],
      "libraries!": ["-lm"]
    }
  ]
}

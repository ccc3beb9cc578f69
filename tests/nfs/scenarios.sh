echo "up after $(now) s"
mount_on a 4.2; mount_on b 4.2
on a grep /vol /proc/self/mountinfo
on b grep /vol /proc/self/mountinfo
on a bash -c 'time /job/treewarden demo --at /vol/demo'
echo "after $(now) s"
mount_on a 3; on a grep /vol /proc/self/mountinfo
on a bash -c 'time /job/treewarden demo --at /vol/demo3'
echo "after $(now) s"
echo "==> all is well"
